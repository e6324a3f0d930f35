// Debian packages, downloaded and unpacked into the cache, never installed. The suites come from a private apt configuration
// that borrows mirror and keys from the machine's own, so the machine's package lists stay as they are.
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { cacheFolder, once, withLock } from './cache.js';

/** Where the kernel comes from, and everything else. */
export type Suite = 'bookworm-backports' | 'bookworm';

const keyring = '/usr/share/keyrings/debian-archive-keyring.gpg';

/** The mirror that apt is configured with, for Debian's main archive. */
function mirror(): string {
  const lines = execFileSync('apt-get', ['indextargets', '--format', '$(REPO_URI) $(CODENAME) $(COMPONENT)'], { encoding: 'utf8' }).split(
    '\n',
  );
  const main = lines
    .map((line) => line.split(' '))
    .find(([, codename = '', component]) => component === 'main' && /^[a-z]+$/.test(codename));
  if (main?.[0] === undefined) throw new Error('apt has no Debian mirror configured (apt-get indextargets lists none)');
  return main[0];
}

/** Environment under which apt sees only `suite`. */
function aptEnvironment(suite: Suite): NodeJS.ProcessEnv {
  const folder = join(cacheFolder, 'apt', suite);
  for (const part of ['lists/partial', 'cache/archives/partial', 'parts']) mkdirSync(join(folder, part), { recursive: true });
  const signedBy = existsSync(keyring) ? ` [signed-by=${keyring}]` : '';
  writeFileSync(join(folder, 'sources.list'), `deb${signedBy} ${mirror()} ${suite} main\n`);
  const settings = {
    'Dir::Etc::sourcelist': join(folder, 'sources.list'),
    'Dir::Etc::sourceparts': join(folder, 'parts'),
    'Dir::State::lists': join(folder, 'lists'),
    'Dir::Cache': join(folder, 'cache'),
    'APT::Sandbox::User': 'root',
  };
  const configuration = join(folder, 'apt.conf');
  writeFileSync(
    configuration,
    Object.entries(settings)
      .map(([key, value]) => `${key} "${value}";\n`)
      .join(''),
  );
  return { ...process.env, APT_CONFIG: configuration, LC_ALL: 'C' };
}

/** The package that a meta-package such as linux-image-cloud-amd64 stands for. */
function dependencyOf(name: string, env: NodeJS.ProcessEnv): string {
  const text = execFileSync('apt-cache', ['depends', name], { env, encoding: 'utf8' });
  const found = /Depends: (\S+)/.exec(text)?.[1];
  if (found === undefined) throw new Error(`${name} is not in the archive`);
  return found;
}

/**
 * Root of the unpacked package. Downloads it the first time; later runs find it in the cache and never ask the archive again,
 * so that a machine keeps the version it started with until `packages/` is removed from the cache.
 */
export function unpackedPackage(suite: Suite, name: string, options: { readonly resolve?: boolean } = {}): string {
  return once(`packages/${name}`, (scratch) =>
    withLock(`apt-${suite}`, () => {
      process.stderr.write(`scripts/vm: downloading ${name}\n`);
      const env = aptEnvironment(suite);
      execFileSync('apt-get', ['-qq', 'update'], { env, stdio: ['ignore', 'ignore', 'inherit'] });
      const wanted = options.resolve === true ? dependencyOf(name, env) : name;
      execFileSync('apt-get', ['-qq', 'download', wanted], { env, cwd: scratch, stdio: ['ignore', 'ignore', 'inherit'] });
      const archive = readdirSync(scratch).find((file) => file.endsWith('.deb'));
      if (archive === undefined) throw new Error(`apt-get downloaded nothing for ${wanted}`);
      execFileSync('dpkg-deb', ['-x', archive, '.'], { cwd: scratch });
      rmSync(join(scratch, archive));
    }),
  );
}

/** Root of the distribution's unpacked drbd-utils: the oracle of what stock does. */
export const stockUtils = (): string => unpackedPackage('bookworm', 'drbd-utils');
