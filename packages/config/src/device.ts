/** What a `device` statement may say, and the minor number in it. */

export interface DeviceVerdict {
  readonly minor: number | undefined;
  readonly errors: readonly string[];
  readonly warning: string | undefined;
}

/** The minor in `/dev/drbd12` or `12`; undefined when the name has none. */
function minorOf(device: string): number | undefined {
  const digits = /^(?:\/dev\/drbd)?([0-9]+)$/.exec(device);
  if (digits === null) return undefined;
  const minor = Number(digits[1]);
  return minor <= 0xffffffff ? minor : undefined;
}

/** Whether a path may be a DRBD device at all. */
export const isDeviceName = (device: string): boolean => device.startsWith('/dev/drbd');

/**
 * Checks the minor against the name.
 * @param device - with /dev/ in front
 * @param isLocal - whether it is this node's; the names of other nodes' devices are their business
 */
export function checkDevice(
  device: string,
  minor: number | undefined,
  isLocal: boolean,
  isDrbdDevice: (path: string) => boolean = () => false,
): DeviceVerdict {
  const errors: string[] = [];
  let warning: string | undefined;
  const inName = minorOf(device);
  if (minor === undefined) {
    if (inName === undefined && !isDrbdDevice(device)) errors.push('no minor given nor device name contains a minor number');
    return { minor: inName, errors, warning };
  }
  if (isLocal) {
    if (device.startsWith('/dev/drbd') && inName !== undefined) {
      if (inName !== minor)
        errors.push(
          `explicit minor number must match with device name\n\tTry "device /dev/drbd${minor} minor ${minor};",\n\tor leave off either device name or explicit minor.\n\tArbitrary device names must start with /dev/drbd_\n\tmind the '_'! (/dev/ is optional, but drbd_ is required)`,
        );
    } else if (device.startsWith('/dev/drbd_'))
      warning = `arbitrary device names (/dev/drbd_...) are no longer generated from current udev rules.\n\tYou may need to manually mknod ${device} b 147 ${minor}\n\tYou should no longer use them.`;
    else errors.push('explicit device names should be of the form /dev/drbd<minor>');
  }
  return { minor, errors, warning };
}
