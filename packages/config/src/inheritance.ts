/**
 * How options spread: from common (or the resource's template) to the resource, from there to volumes, connections, peer devices
 * and proxies. An inherited entry goes to the front of the list it reaches; what is written there already wins without a word; two
 * different inherited values are an error. Specification: docs/configuration.md, "Inheritance".
 */
import type { Config, Connection, OptionList, Resource, Volume } from './model.js';
import { numberProblem, valuesEqual } from './option-values.js';
import { EXIT, Fatal, type Report } from './report.js';

interface Conflicts {
  ambiguous(name: string, old: string, value: string): void;
  /** A number is none. @throws Fatal */
  notComparable(problem: string): never;
}

/** Copies what `to` lacks to its front, one by one, so that the order turns around. */
export function inherit(from: OptionList, to: OptionList, conflicts: Conflicts): void {
  for (const entry of from) {
    const existing = to.find((o) => o.name === entry.name);
    if (existing === undefined) {
      to.unshift({ ...entry, inherited: true });
      continue;
    }
    if (!existing.inherited) continue;
    const problem = numberProblem(existing.option, existing.value) ?? numberProblem(entry.option, entry.value);
    if (problem !== undefined) conflicts.notComparable(problem);
    const same = entry.option === undefined ? entry.value === existing.value : valuesEqual(entry.option, entry.value, existing.value);
    if (!same) conflicts.ambiguous(entry.name, existing.value ?? '', entry.value ?? '');
  }
}

/** Plugins are inherited like options without a value. */
function inheritPlugins(from: readonly string[], to: string[]): void {
  for (const plugin of from) if (!to.includes(plugin)) to.unshift(plugin);
}

/** Spreads the options of the whole configuration; ambiguities are reported and make it invalid. */
export function inheritOptions(config: Config, report: Report): void {
  for (const res of config.resources) {
    const conflicts: Conflicts = {
      ambiguous: (name, old, value) => {
        report(
          `${res.file}:${res.line}: in resource ${res.name}, ambiguous inheritance for option "${name}".\nshould be "${old}" and "${value}" at the same time.\n`,
        );
        config.valid = false;
      },
      notComparable: (problem) => {
        report(`${problem}\n`);
        throw new Fatal(EXIT.exec);
      },
    };
    inheritInResource(res, res.template ?? config.common, conflicts);
  }
}

function inheritInResource(res: Resource, common: Resource | undefined, conflicts: Conflicts): void {
  const copy = (from: OptionList, to: OptionList) => inherit(from, to, conflicts);
  for (const host of res.hosts) for (const volume of host.volumes) completeDevice(volume);
  if (common !== undefined) {
    copy(common.net, res.net);
    copy(common.device, res.device);
    copy(common.disk, res.disk);
    copy(common.peerDevice, res.peerDevice);
    copy(common.startup, res.startup);
    copy(common.proxy, res.proxy);
    copy(common.handlers, res.handlers);
    copy(common.options, res.options);
    inheritPlugins(common.plugins, res.plugins);
    res.stackedTimeouts ||= common.stackedTimeouts;
  }
  const toVolume = (from: { disk: OptionList; device: OptionList; peerDevice: OptionList }, volume: Volume) => {
    copy(from.device, volume.deviceOptions);
    copy(from.disk, volume.diskOptions);
    copy(from.peerDevice, volume.peerDeviceOptions);
  };
  for (const host of res.hosts) {
    for (const volume of host.volumes) toVolume(res, volume);
    for (const own of res.volumes) {
      const volume = host.volumes.find((v) => v.vnr === own.vnr);
      if (volume !== undefined) toVolume({ disk: own.diskOptions, device: own.deviceOptions, peerDevice: own.peerDeviceOptions }, volume);
    }
  }
  for (const connection of res.connections) inheritInConnection(res, connection, copy);
}

/** `disk none` has no meta-data either, and every device has a name. */
function completeDevice(volume: Volume): void {
  if (volume.device === undefined && volume.minor !== undefined) volume.device = `/dev/drbd${volume.minor}`;
  if (volume.disk !== 'none') return;
  volume.disk = undefined;
  volume.metaDisk = undefined;
  volume.metaIndex = undefined;
}

function inheritInConnection(res: Resource, connection: Connection, copy: (from: OptionList, to: OptionList) => void): void {
  copy(res.net, connection.net);
  for (const endpoint of connection.paths.flatMap((path) => path.endpoints)) {
    if (endpoint.proxy === undefined) continue;
    copy(res.proxy, endpoint.proxy.options);
    inheritPlugins(res.plugins, endpoint.proxy.plugins);
  }
  for (const device of connection.peerDevices) copy(connection.peerDeviceOptions, device.options);
  for (const endpoint of connection.paths[0]?.endpoints ?? []) {
    for (const volume of endpoint.host?.volumes ?? []) {
      const device = connection.peerDevices.find((d) => d.vnr === volume.vnr);
      if (device !== undefined) copy(volume.peerDeviceOptions, device.options);
    }
  }
}
