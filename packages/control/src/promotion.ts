/** Whether a resource may be promoted here, and how good an idea that is: `may_promote` and `promotion_score` of events2. */
import type { DeviceState, PeerDeviceState, PeerDeviceStatistics, ResourceSnapshot, ResourceState } from './snapshot.js';
import type { Role } from './states.js';

export interface Promotion {
  readonly mayPromote: boolean;
  readonly score: number;
}

export interface PromotionInput {
  readonly state: ResourceState;
  readonly peerRoles: readonly Role[];
  readonly devices: readonly { readonly state: DeviceState; readonly peers: readonly PeerDeviceView[] }[];
}
interface PeerDeviceView {
  readonly state: PeerDeviceState;
  readonly statistics: PeerDeviceStatistics;
}

const NO_PROMOTION: Promotion = { mayPromote: false, score: 0 };
/** In the flags a peer sends with its UUIDs: its data do not depend on anybody else's. */
const UUID_FLAG_STABLE = 0x20;
const COUNT_MAX = 99;

/** Ten thousand for having all the disks, a hundred for each that is UpToDate, one for each replica of the volume with the fewest. */
export function promotionOf({ state, peerRoles, devices }: PromotionInput): Promotion {
  if (devices.length === 0 || state.forceIoFailures || devices.some((device) => !device.state.quorum)) return NO_PROMOTION;
  let isStable = true;
  let hasAllDisks = true;
  let ownUpToDate = 0;
  let replicasMin = Number.POSITIVE_INFINITY;
  for (const device of devices) {
    const { diskState } = device.state;
    const peersUpToDate = device.peers.filter((peer) => peer.state.diskState === 'UpToDate');
    const isUpToDate = diskState === 'UpToDate';
    if (isUpToDate) ownUpToDate += 1;
    replicasMin = Math.min(replicasMin, peersUpToDate.length + (isUpToDate ? 1 : 0));
    isStable &&= isUpToDate || peersUpToDate.some((peer) => (peer.statistics.uuidFlags & UUID_FLAG_STABLE) !== 0);
    hasAllDisks &&= isUpToDate || diskState === 'Consistent' || diskState === 'Inconsistent';
  }
  if (replicasMin === 0) return NO_PROMOTION;
  const nobodyIsPrimary = state.role !== 'Primary' && !peerRoles.includes('Primary');
  return {
    mayPromote: nobodyIsPrimary && isStable,
    score: (hasAllDisks ? 10_000 : 0) + 100 * Math.min(ownUpToDate, COUNT_MAX) + Math.min(replicasMin, COUNT_MAX),
  };
}

export const promotionOfResource = ({ state, devices, connections }: ResourceSnapshot): Promotion =>
  promotionOf({
    state,
    peerRoles: connections.map((connection) => connection.state.role),
    devices: devices.map((device) => ({
      state: device.state,
      peers: connections.flatMap(({ peerDevices }) => peerDevices.filter(({ volume }) => volume === device.volume)),
    })),
  });
