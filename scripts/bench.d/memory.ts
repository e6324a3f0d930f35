/** Resident memory of an engine with 1 and with 50 resources of one volume each, connected to a peer. */
import { Cluster, NODES } from './cluster.js';
import { rounded, type Table } from './table.js';

const SIZE_MIB = 64;

export async function memory(): Promise<Table> {
  const rows: (string | number)[][] = [];
  for (const resources of [1, 50]) {
    const cluster = new Cluster(resources, SIZE_MIB);
    try {
      await cluster.start();
      rows.push([resources, ...NODES.map((node) => rounded(cluster.residentMiB(node)))]);
    } finally {
      await cluster.stop();
    }
  }
  return {
    title: 'Memory of an engine, MiB resident',
    head: ['resources', 'Primary', 'Secondary'],
    rows,
    notes: [`one volume of ${SIZE_MIB} MiB each, connected and UpToDate, no I/O yet; UDRBD_POOL_MIB at its default`],
  };
}
