/** drbd.conf: from text to the resolved configuration, and back to text. */
export { addressArgument, addressesEqual, addressText } from './address.js';
export { isIgnored, isProxyHere } from './connections.js';
export { type DumpStyle, dumpCommon, dumpGlobal, dumpResource, quote } from './dump.js';
export { dumpXmlHead, dumpXmlResource, XML_TAIL } from './dump-xml.js';
export { parse } from './grammar.js';
export { type ConfigFile, type Loaded, type LoadRequest, loadConfig } from './load.js';
export * from './model.js';
export { nearest } from './nearest.js';
export * from './option-values.js';
export * from './options.js';
export { resourceNameProblem } from './read-resources.js';
export type { ConfigSource, Place, ReadContext, SourceText } from './read-state.js';
export { isUnknown, type LoadedProxySettings, type LoadedShow, loadProxySettings, loadShow, type ProxySettings } from './show.js';
