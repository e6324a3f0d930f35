import t from 'tap';
import { ipv4Of, ipv6Of } from './local-addresses.js';

const FIB_TRIE = `Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
     +-- 192.0.2.0/24 2 0 2
        +-- 192.0.2.0/30 2 0 2
           |-- 192.0.2.0
              /24 link UNICAST
           |-- 192.0.2.2
              /32 host LOCAL
        |-- 192.0.2.255
           /32 link BROADCAST
Local:
     +-- 127.0.0.0/8 2 0 2
        +-- 127.0.0.0/31 1 0 0
           |-- 127.0.0.0
              /8 host LOCAL
           |-- 127.0.0.1
              /32 host LOCAL
           |-- 192.0.2.2
              /32 host LOCAL
`;

t.test('IPv4', async (t) => {
  t.strictSame(ipv4Of(FIB_TRIE), [
    { family: 'ipv4', address: '192.0.2.2' },
    { family: 'ipv4', address: '127.0.0.1' },
  ]);
  t.strictSame(ipv4Of(''), []);
});

t.test('IPv6', async (t) => {
  const text = 'fd000000000000000000000000000002 04 40 00 82     eth0\n00000000000000000000000000000001 01 80 10 80       lo\n';
  t.strictSame(ipv6Of(text), [
    { family: 'ipv6', address: 'fd00:0000:0000:0000:0000:0000:0000:0002' },
    { family: 'ipv6', address: '0000:0000:0000:0000:0000:0000:0000:0001' },
  ]);
  t.strictSame(ipv6Of(''), []);
});
