/** How large a replicated device is: the rule of DRBD 8.4 (drbd_nl.c). All sizes in sectors, 0 = unknown or not set. */
export interface SizeInput {
  /** Capacity of our backing disk in front of the meta-data; 0 while diskless. */
  readonly own: number;
  /** Capacity of the peer's backing disk as it told us; 0 when not known. */
  readonly peer: number;
  /** Size last agreed upon, from the meta-data. */
  readonly lastAgreed: number;
  /** Size that the administrator asked for. */
  readonly configured: number;
  readonly connected: boolean;
  /** `resize --assume-peer-has-space`: take our capacity as the peer's while it is away. */
  readonly forced: boolean;
}

export interface SizeDecision {
  /** 0 when no disk is known at all. */
  readonly sizeSectors: number;
  readonly logs: readonly { readonly level: 'err' | 'warning'; readonly text: string }[];
}

export function newDeviceSize(input: SizeInput): SizeDecision {
  const logs: { level: 'err' | 'warning'; text: string }[] = [];
  const { own, lastAgreed, configured } = input;
  let { peer } = input;
  if (!input.connected && input.forced) {
    logs.push({ level: 'warning', text: 'Resize while not connected was forced by the user!' });
    peer = own;
  }
  let size: number;
  if (own > 0 && peer > 0) size = Math.min(own, peer);
  else if (lastAgreed > 0) size = Math.min(lastAgreed, own > 0 ? own : Infinity, peer > 0 ? peer : Infinity);
  else size = own > 0 ? own : peer;
  if (size === 0) logs.push({ level: 'err', text: 'Both nodes diskless!' });
  if (configured > 0) {
    if (configured > size) {
      // In KiB.
      const text = `Requested disk size is too big (${Math.floor(configured / 2)} > ${Math.floor(size / 2)})`;
      logs.push({ level: 'err', text });
    } else size = configured;
  }
  return { sizeSectors: size, logs };
}
