import t from 'tap';
import type { CommandIo } from './command-io.js';
import type { Options } from './command-line.js';
import { Progress } from './progress.js';

function shown(stderrIsTty: boolean, quiet = false): string {
  let text = '';
  let now = 0;
  const io = {
    stderr: (piece: string) => {
      text += piece;
    },
    stderrIsTty,
  } as CommandIo;
  const progress = new Progress(io, { quiet } as Options, 'clearing bitmap', () => now);
  for (let done = 0; done <= 10; done++) {
    now = done * 100;
    progress.at(done, 10);
  }
  progress.end();
  return text;
}

t.test('long work shows a line on a terminal, which goes away', async (t) => {
  t.equal(shown(true), `\rclearing bitmap: 50%\rclearing bitmap: 70%\rclearing bitmap: 90%\r${' '.repeat(20)}\r`);
});

t.test('scripts see nothing', async (t) => {
  t.equal(shown(false), '');
  t.equal(shown(true, true), '');
});
