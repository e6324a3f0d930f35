/** What the journal says of the resources that are configured. */
import { bootId, JOURNAL_VERSION, type Journal } from './journal.js';
import type { ResourceEntry } from './resource-entry.js';

export function journalOf(entries: readonly ResourceEntry[]): Journal {
  return {
    version: JOURNAL_VERSION,
    bootId: bootId(),
    pid: process.pid,
    resources: entries.map((entry) => ({
      name: entry.name,
      nodeId: entry.nodeId,
      drbd8Compat: entry.drbd8Compat,
      options: entry.options,
      volumes: [...entry.volumes.values()].map(({ volume, minor, options, disk }) => ({
        volume,
        minor,
        options,
        disk:
          disk === undefined
            ? null
            : { backingDev: disk.backingDev, metaDev: disk.metaDev, metaIndex: disk.metaIndex, options: disk.options },
      })),
      connections: [...entry.connections.values()].map(({ number, peerNodeId, options, paths, connect }) => ({
        peerNodeId,
        options,
        paths,
        peerDevices: (entry.state?.core.connections.find((c) => c.connection === number)?.peerDevices ?? []).map((p) => ({
          volume: p.volume,
          options: p.options,
          resyncPaused: p.resyncSuspendedUser,
        })),
        connect,
      })),
      primary: entry.primary,
      ioSuspended: entry.state?.core.suspendedUser ?? false,
      failIo: entry.state?.core.failIo ?? false,
    })),
  };
}
