import { DIGESTS, digestNumber } from '@udrbd/replication';
import t from 'tap';
import { computeDigest } from './digests.js';

/** Of the nine bytes "123456789"; crc32c as recorded from the kernel, the others from FIPS 180 and RFC 1321 tools. */
const CHECK: Readonly<Record<string, string>> = {
  crc32c: '839206e3',
  md5: '25f9e794323b453885f5181f1b624d0b',
  sha1: 'f7c3bc1d808e04732adf679965ccc34ca7ae3441',
  sha224: '9b3e61bf29f17c75572fae2e86e17809a4513d07c8a18152acf34521',
  sha256: '15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225',
  sha384: 'eb455d56d2c1a69de64e832011f3393d45f3fa31d6842f21af92d2fe469c499da5e3179847334a18479c8d1dedea1be3',
  sha512:
    'd9e6762dd1c8eaf6d61b3c6192fc408d4d6d5f1176d0c29169bc24e71c3f274ad27fcd5811b313d681f7e55ec02d73d499c95455b6b5bb503acf574fba8ffe85',
};

t.test('digests of the kernel', async (t) => {
  const bytes = Buffer.from('--123456789--');
  for (const { name, bytes: length } of DIGESTS) {
    const to = new Uint8Array(length + 2).fill(0xee);
    computeDigest(digestNumber(name), bytes, 2, 9, to, 1);
    t.equal(Buffer.from(to.subarray(1, length + 1)).toString('hex'), CHECK[name], name);
    t.equal(to[0], 0xee);
    t.equal(to[length + 1], 0xee, 'nothing behind it');
  }
  t.equal(digestNumber('md4'), -1);
  t.equal(digestNumber(''), 0);
  t.throws(() => computeDigest(0, bytes, 0, 1, new Uint8Array(4), 0));
});
