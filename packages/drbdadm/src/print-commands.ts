/** The commands that only print something: dump, dump-xml and the sh-* family. */
import { dumpCommon, dumpGlobal, dumpResource, dumpXmlHead, dumpXmlResource, hasDisk, type Resource, XML_TAIL } from '@udrbd/config';
import type { Action } from './actions.js';
import type { ActionName } from './commands.js';
import { isUnnumbered, metaDevice } from './lines.js';
import type { Session, Target } from './session.js';

const printing =
  (text: (session: Session, target: Target) => string): Action =>
  async (session, target) => {
    const shown = text(session, target);
    if (shown !== '') session.io.stdout(`${shown}\n`);
    return 0;
  };

const dumpStyle = (session: Session) => ({ nodeName: session.nodeName, verbose: session.settings.verbose > 0 });

/** What `sh-udev` tells udev about one volume. */
const udev: Action = async ({ io, config }, { res, volume }) => {
  if (volume === undefined) {
    io.stderr('volume not specified\n');
    return 1;
  }
  const number = isUnnumbered(config, volume) ? '' : `/${volume.vnr}`;
  const link = `drbd/by-res/${res.name}${number}`;
  io.stdout(`DEVICE=drbd${volume.minor}\nSYMLINK=${link}\nSYMLINK_BY_RES=${link}\n`);
  if (hasDisk(volume)) io.stdout(`SYMLINK_BY_DISK=drbd/by-disk/${volume.disk!.replace(/^\/dev\//, '')}\n`);
  return 0;
};

/** What does not fit ends the run here, whatever else was named. */
const lowerResource: Action = async (session, { res }) => {
  const { io, nodeName, stackedMode } = session;
  if (!stackedMode || !res.stacked) {
    io.stderr(
      stackedMode ? `'${res.name}' is not stacked on this host (${nodeName})\n` : 'sh-lower-resource only available in stacked mode\n',
    );
    session.fatalExitCode = 1;
    return 1;
  }
  io.stdout(`${res.me?.lowerName}\n`);
  return 0;
};

/** Commands on one target. */
export const PRINTERS: Readonly<Partial<Record<ActionName, Action>>> = {
  'sh-resource': printing((_, { res }) => res.name),
  'sh-list-config-file': printing((_, { res }) => `${res.file}:${res.line}:${res.name}`),
  'sh-dev': printing((_, { volume }) => `/dev/drbd${volume!.minor}`),
  'sh-minor': printing((_, { volume }) => String(volume!.minor)),
  'sh-ll-dev': printing((_, { volume }) => volume!.disk ?? 'none'),
  'sh-md-dev': printing((_, { volume }) => metaDevice(volume!)),
  'sh-md-idx': printing((_, { volume }) => volume!.metaIndex ?? 'internal'),
  'sh-ip': printing((_, { path }) => path?.me?.address?.address ?? ''),
  'sh-udev': udev,
  'sh-lr-of': lowerResource,
  dump: async (session, { res }) => {
    session.io.stdout(dumpResource(res, dumpStyle(session)));
    return 0;
  },
  'dump-xml': async (session, { res }) => {
    session.io.stdout(dumpXmlResource(res, 0, session.settings.verbose > 0));
    return 0;
  },
};

/** `dump` or `dump-xml` of everything. */
export function dumpAll(session: Session, asXml: boolean): void {
  const { config, io } = session;
  if (asXml) {
    io.stdout(dumpXmlHead(config));
    for (const res of config.resources) io.stdout(dumpXmlResource(res, 1, session.settings.verbose > 0));
    io.stdout(XML_TAIL);
    return;
  }
  const style = dumpStyle(session);
  io.stdout(dumpGlobal(config, style));
  if (config.common !== undefined) io.stdout(dumpCommon(config.common));
  for (const res of config.resources) io.stdout(dumpResource(res, style));
}

const isNormal = (session: Session, res: Resource): boolean => !res.ignore && res.stacked === session.stackedMode;

/** Commands about the whole configuration. @returns undefined when the command is none of them */
export function printWhole(session: Session): number | undefined {
  const { config, io } = session;
  switch (session.command.action) {
    case 'sh-nop':
      return config.valid ? 0 : 10;
    case 'sh-resources':
      for (const res of config.resources) if (isNormal(session, res)) io.stdout(`${res.name}\n`);
      return 0;
    case 'sh-mod-parms': {
      const minors = config.resources.flatMap((res) => (res.ignore ? [] : (res.me?.volumes ?? []))).length;
      const count = config.global.minorCount || Math.min(Math.max(minors + 3, 32), 255);
      io.stdout(`minor_count=${count}\n`);
      return 0;
    }
    default:
      return undefined;
  }
}
