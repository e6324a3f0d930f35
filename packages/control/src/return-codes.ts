/**
 * Return codes of the configuration interface: DRBD's numbers and DRBD's texts, one table.
 *
 * Codes above 100 answer a configuration request (`Failure:`), codes up to 4 answer a state change. A text that ends in a
 * line break does so in the original too. Source: drbd.h, drbd_strings.c, drbdsetup.
 */
export const RETURN_CODES = {
  SS_UNKNOWN_ERROR: { code: 0, text: 'unknown error.' },
  SS_SUCCESS: { code: 1, text: '' },
  SS_NOTHING_TO_DO: { code: 2, text: '' },
  SS_CW_SUCCESS: { code: 3, text: '' },
  SS_CW_NO_NEED: { code: 4, text: '' },
  SS_TWO_PRIMARIES: { code: -1, text: 'Multiple primaries not allowed by config' },
  SS_NO_UP_TO_DATE_DISK: { code: -2, text: 'Need access to UpToDate data' },
  SS_NO_LOCAL_DISK: { code: -4, text: 'Can not resync without local disk' },
  SS_NO_REMOTE_DISK: { code: -5, text: 'Can not resync without remote disk' },
  SS_CONNECTED_OUTDATES: { code: -6, text: 'Refusing to be Outdated while Connected' },
  SS_PRIMARY_NOP: { code: -7, text: 'Refusing to be Primary while peer is not outdated' },
  SS_RESYNC_RUNNING: { code: -8, text: 'Can not start OV/resync since it is already active' },
  SS_ALREADY_STANDALONE: { code: -9, text: 'Can not disconnect a StandAlone device' },
  SS_CW_FAILED_BY_PEER: { code: -10, text: 'State change was refused by peer node' },
  SS_IS_DISKLESS: { code: -11, text: 'Device is diskless, the requested operation requires a disk' },
  SS_DEVICE_IN_USE: { code: -12, text: 'Device is held open by someone' },
  SS_NO_NET_CONFIG: { code: -13, text: 'Have no net/connection configuration' },
  SS_NO_VERIFY_ALG: { code: -14, text: 'Need a verify algorithm to start online verify' },
  SS_NEED_CONNECTION: { code: -15, text: 'State change requires a connection' },
  SS_LOWER_THAN_OUTDATED: { code: -16, text: 'Disk state is lower than outdated' },
  SS_NOT_SUPPORTED: { code: -17, text: 'Peer does not support protocol' },
  SS_IN_TRANSIENT_STATE: { code: -18, text: 'In transient state, retry after next state change' },
  SS_CONCURRENT_ST_CHG: { code: -19, text: 'Concurrent state changes detected and aborted' },
  SS_O_VOL_PEER_PRI: { code: -20, text: 'Other vol primary on peer not allowed by config' },
  SS_INTERRUPTED: { code: -21, text: 'Interrupted state change' },
  SS_PRIMARY_READER: { code: -22, text: 'Peer may not become primary while device is opened read-only' },
  SS_TIMEOUT: { code: -23, text: 'Timeout in operation' },
  SS_WEAKLY_CONNECTED: { code: -24, text: 'Primary nodes must be strongly connected among each other' },
  SS_NO_QUORUM: { code: -25, text: 'No quorum' },
  SS_ATTACH_NO_BITMAP: { code: -26, text: 'Intentional diskless peer may not attach a disk' },
  SS_HANDSHAKE_DISCONNECT: { code: -27, text: 'Disconnect chosen in handshake' },
  SS_HANDSHAKE_RETRY: { code: -28, text: 'Retry chosen in handshake' },
  NO_ERROR: { code: 101, text: '' },
  ERR_LOCAL_ADDR: { code: 102, text: 'Local address(port) already in use.' },
  ERR_PEER_ADDR: { code: 103, text: 'Remote address(port) already in use.' },
  ERR_OPEN_DISK: { code: 104, text: 'Can not open backing device.' },
  ERR_OPEN_MD_DISK: { code: 105, text: 'Can not open meta device.' },
  ERR_DISK_NOT_BDEV: { code: 107, text: 'Lower device is not a block device.' },
  ERR_MD_NOT_BDEV: { code: 108, text: 'Meta device is not a block device.' },
  ERR_DISK_TOO_SMALL: { code: 111, text: 'Low.dev. smaller than requested DRBD-dev. size.' },
  ERR_MD_DISK_TOO_SMALL: { code: 112, text: 'Meta device too small.' },
  ERR_BDCLAIM_DISK: { code: 114, text: 'Lower device is already claimed. This usually means it is mounted.' },
  ERR_BDCLAIM_MD_DISK: { code: 115, text: 'Meta device is already claimed. This usually means it is mounted.' },
  ERR_MD_IDX_INVALID: { code: 116, text: 'Lower device / meta device / index combination invalid.' },
  ERR_IO_MD_DISK: { code: 118, text: 'IO error(s) occurred during initial access to meta-data.\n' },
  ERR_MD_INVALID: {
    code: 119,
    text: "No valid meta-data signature found.\n\n\t==> Use 'drbdadm create-md res' to initialize meta-data area. <==\n",
  },
  ERR_AUTH_ALG: {
    code: 120,
    text: "The 'cram-hmac-alg' you specified is not known in the kernel. (Maybe you need to modprobe it, or modprobe hmac?)",
  },
  ERR_AUTH_ALG_ND: { code: 121, text: "The 'cram-hmac-alg' you specified is not a digest." },
  ERR_NOMEM: { code: 122, text: 'kmalloc() failed. Out of memory?' },
  ERR_DISCARD_IMPOSSIBLE: { code: 123, text: '--discard-my-data not allowed when primary.' },
  ERR_DISK_CONFIGURED: { code: 124, text: 'Device is attached to a disk (use detach first)' },
  ERR_NET_CONFIGURED: { code: 125, text: 'Device has a net-config (use disconnect first)' },
  ERR_MANDATORY_TAG: { code: 126, text: 'UnknownMandatoryTag' },
  ERR_MINOR_INVALID: { code: 127, text: 'Device minor not allocated' },
  ERR_INTR: { code: 129, text: 'Interrupted by Signal' },
  ERR_RESIZE_RESYNC: { code: 130, text: 'Resize not allowed during resync.' },
  ERR_NO_PRIMARY: { code: 131, text: 'Need one Primary node to resize.' },
  ERR_RESYNC_AFTER: { code: 132, text: 'The resync-after minor number is invalid' },
  ERR_RESYNC_AFTER_CYCLE: { code: 133, text: 'This would cause a resync-after dependency cycle' },
  ERR_PAUSE_IS_SET: { code: 134, text: 'Sync-pause flag is already set' },
  ERR_PAUSE_IS_CLEAR: { code: 135, text: 'Sync-pause flag is already cleared' },
  ERR_PACKET_NR: { code: 137, text: 'Kernel does not know how to handle your request.\nMaybe API_VERSION mismatch?' },
  ERR_NO_DISK: { code: 138, text: 'Device does not have a disk-config' },
  ERR_NOT_PROTO_C: { code: 139, text: 'Protocol C required' },
  ERR_NOMEM_BITMAP: { code: 140, text: 'vmalloc() failed. Out of memory?' },
  ERR_INTEGRITY_ALG: {
    code: 141,
    text: "The 'data-integrity-alg' you specified is not known in the kernel. (Maybe you need to modprobe it, or modprobe hmac?)",
  },
  ERR_INTEGRITY_ALG_ND: { code: 142, text: "The 'data-integrity-alg' you specified is not a digest." },
  ERR_CPU_MASK_PARSE: { code: 143, text: 'Invalid cpu-mask.' },
  ERR_CSUMS_ALG: { code: 144, text: 'CSUMSAlgNotAvail' },
  ERR_CSUMS_ALG_ND: { code: 145, text: 'CSUMSAlgNotDigest' },
  ERR_VERIFY_ALG: { code: 146, text: 'VERIFYAlgNotAvail' },
  ERR_VERIFY_ALG_ND: { code: 147, text: 'VERIFYAlgNotDigest' },
  ERR_CSUMS_RESYNC_RUNNING: { code: 148, text: 'Can not change csums-alg while resync is in progress' },
  ERR_VERIFY_RUNNING: { code: 149, text: 'Can not change verify-alg while online verify runs' },
  ERR_DATA_NOT_CURRENT: { code: 150, text: 'Can only attach to the data we lost last (see kernel log).' },
  ERR_CONNECTED: { code: 151, text: 'Need to be StandAlone' },
  ERR_PERM: { code: 152, text: 'Permission denied. CAP_SYS_ADMIN necessary' },
  ERR_NEED_APV_93: { code: 153, text: 'Protocol version 93 required to use --assume-clean' },
  ERR_STONITH_AND_PROT_A: { code: 154, text: 'Fencing policy resource-and-stonith only with prot B or C allowed' },
  ERR_CONG_NOT_PROTO_A: { code: 155, text: 'on-congestion policy pull-ahead only with prot A allowed' },
  ERR_PIC_AFTER_DEP: {
    code: 156,
    text: 'Sync-pause flag is already cleared.\nNote: Resync pause caused by a local resync-after dependency.',
  },
  ERR_PIC_PEER_DEP: { code: 157, text: 'Sync-pause flag is already cleared.\nNote: Resync pause caused by the peer node.' },
  ERR_RES_NOT_KNOWN: { code: 158, text: 'Unknown resource' },
  ERR_RES_IN_USE: { code: 159, text: 'Resource still in use (delete all minors first)' },
  ERR_MINOR_CONFIGURED: { code: 160, text: 'Minor still configured (down it first)' },
  ERR_MINOR_OR_VOLUME_EXISTS: { code: 161, text: 'Minor or volume exists already (delete it first)' },
  ERR_INVALID_REQUEST: { code: 162, text: 'Invalid configuration request' },
  ERR_NEED_APV_100: { code: 163, text: 'Prot version 100 required in order to change\nthese network options while connected' },
  ERR_NEED_ALLOW_TWO_PRI: { code: 164, text: 'Can not clear allow_two_primaries as long as\nthere a primaries on both sides' },
  ERR_MD_UNCLEAN: { code: 165, text: "Unclean meta-data found.\nYou need to 'drbdadm apply-al res'\n" },
  ERR_MD_LAYOUT_CONNECTED: { code: 166, text: 'DRBD need to be connected for online MD layout change\n' },
  ERR_MD_LAYOUT_TOO_BIG: { code: 167, text: 'Resulting AL area too big\n' },
  ERR_MD_LAYOUT_TOO_SMALL: { code: 168, text: 'Resulting AL are too small\n' },
  ERR_MD_LAYOUT_NO_FIT: { code: 169, text: 'Resulting AL does not fit into available meta data space\n' },
  ERR_IMPLICIT_SHRINK: { code: 170, text: 'Implicit device shrinking not allowed. See kernel log.\n' },
  ERR_INVALID_PEER_NODE_ID: { code: 171, text: 'Invalid peer-node-id\n' },
  ERR_CREATE_TRANSPORT: { code: 172, text: 'Failed to create transport (drbd_transport_xxx module missing?)\n' },
  ERR_LOCAL_AND_PEER_ADDR: { code: 173, text: 'Combination of local address(port) and remote address(port) already in use\n' },
  ERR_ALREADY_EXISTS: { code: 174, text: 'Already exists\n' },
  ERR_APV_TOO_LOW: { code: 175, text: 'A higher DRBD protocol level is required for this operation\n' },
  ERR_PATH_COLLISION: { code: 176, text: 'Path collides with existing path\n' },
} as const satisfies Record<string, { readonly code: number; readonly text: string }>;

export type ReturnCode = keyof typeof RETURN_CODES;

/** Texts of codes that no present engine returns but the commands still know. */
const HISTORIC_TEXTS: Readonly<Record<number, string>> = {
  [-3]: '?',
  106: 'Lower device already in use.',
  109: 'Open of lower device failed.',
  110: 'Open of meta device failed.',
  113: 'You have to use the disk command first.',
  117: 'Currently we only support devices up to 3.998TB.\n(up to 2TB in case you do not have CONFIG_LBD set)\nContact office@linbit.com, if you need more.',
  128: 'Resulting device state would be invalid',
  136: 'Disk state is lower than outdated',
};

const TEXT_BY_CODE: ReadonlyMap<number, string> = new Map([
  ...Object.entries(HISTORIC_TEXTS).map(([code, text]) => [Number(code), text] as const),
  ...Object.values(RETURN_CODES).map(({ code, text }) => [code, text] as const),
]);
const NAME_BY_CODE: ReadonlyMap<number, ReturnCode> = new Map(
  (Object.keys(RETURN_CODES) as ReturnCode[]).map((name) => [RETURN_CODES[name].code, name]),
);

/** @returns DRBD's text for a numeric code, or undefined for a code nobody knows */
export const returnCodeText = (code: number): string | undefined => TEXT_BY_CODE.get(code);

/** @returns the symbol of a numeric code, or undefined for historic and unknown codes */
export const returnCodeName = (code: number): ReturnCode | undefined => NAME_BY_CODE.get(code);

/** 101 and the four successes of a state change. */
export const isSuccessCode = (code: number): boolean => code === 101 || (code >= 1 && code <= 4);

/** A refusal the user must see: DRBD's code and the texts that go below `additional info from kernel:`. */
export interface Refusal {
  readonly name: ReturnCode;
  readonly info?: readonly string[];
}

/** A refusal is a value, so the compiler asks every caller what it does about it. */
export type Outcome<T = void> = { readonly ok: true; readonly value: T } | { readonly ok: false; readonly error: Refusal };

export const refuse = (name: ReturnCode, ...info: string[]): Outcome<never> => ({
  ok: false,
  error: info.length > 0 ? { name, info } : { name },
});

/** The outcome of something that succeeded. */
export function succeed(): Outcome;
export function succeed<T>(value: T): Outcome<T>;
export function succeed<T>(value?: T): Outcome<T | undefined> {
  return { ok: true, value };
}
