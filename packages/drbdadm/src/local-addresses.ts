/**
 * The addresses of this host. The kernel's tables know them as long as an interface is up; what Node.js lists leaves out interfaces without
 * a carrier, such as a cable to a peer that is switched off.
 */

export interface LocalAddress {
  readonly family: 'ipv4' | 'ipv6';
  readonly address: string;
}

/** @param fibTrie - text of /proc/net/fib_trie: a leaf, and below it the routes that end there */
export function ipv4Of(fibTrie: string): LocalAddress[] {
  const found = new Set<string>();
  let leaf = '';
  for (const line of fibTrie.split('\n')) {
    leaf = /\|-- (\S+)/.exec(line)?.[1] ?? leaf;
    if (/^\s*\/32 host LOCAL/.test(line)) found.add(leaf);
  }
  return [...found].map((address) => ({ family: 'ipv4', address }));
}

/** @param ifInet6 - text of /proc/net/if_inet6: 32 hexadecimal digits, then what belongs to the interface */
export function ipv6Of(ifInet6: string): LocalAddress[] {
  return [...ifInet6.matchAll(/^([0-9a-f]{32}) /gm)].map(([, digits]) => ({
    family: 'ipv6',
    address: digits!.match(/.{4}/g)!.join(':'),
  }));
}
