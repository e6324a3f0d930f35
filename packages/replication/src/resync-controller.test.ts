import t from 'tap';
import { ProgressMarks } from './progress-marks.js';
import { ResyncController, type ResyncOptions } from './resync-controller.js';

const DEFAULTS: ResyncOptions = {
  resyncRate: 250,
  cPlanAhead: 20,
  cDelayTarget: 10,
  cFillTarget: 100,
  cMaxRate: 102_400,
  maxBuffers: 2048,
};

const turns = (options: ResyncOptions, count: number): number[][] => {
  const controller = new ResyncController(options);
  let arrived = 0;
  return Array.from({ length: count }, (_, i) => {
    const number = controller.turn(i * 100, arrived);
    controller.requested(number * 8);
    arrived = number * 8;
    return [number, controller.wantKiBps];
  });
};

t.test('computed turns in which everything requested came back', async (t) => {
  t.strictSame(turns(DEFAULTS, 5), [
    [6, 240],
    [7, 280],
    [8, 320],
    [9, 360],
    [10, 400],
  ]);
  t.strictSame(turns({ ...DEFAULTS, cFillTarget: 0 }, 4), [
    [6, 240],
    [9, 360],
    [13, 520],
    [20, 800],
  ]);
});

t.test('without a plan the rate is fixed', async (t) => {
  t.strictSame(turns({ ...DEFAULTS, cPlanAhead: 0, resyncRate: 4000 }, 2), [
    [100, 4000],
    [100, 4000],
  ]);
});

t.test("the maximum rate and the peer's buffers limit it", async (t) => {
  const fast = turns({ ...DEFAULTS, cFillTarget: 100_000, cMaxRate: 4000 }, 40);
  t.equal(Math.max(...fast.map(([number]) => number!)), 100);
  t.ok(turns({ ...DEFAULTS, maxBuffers: 8 }, 10).every(([number]) => number! <= 4));
});

t.test('nothing is requested while nothing comes back', async (t) => {
  const controller = new ResyncController(DEFAULTS);
  let sent = 0;
  for (let i = 0; i < 200; i++) {
    const number = controller.turn(i * 100, 0);
    controller.requested(number * 8);
    sent += number * 8;
  }
  t.ok(sent < 1100, `${sent} sectors under way`);
  t.equal(controller.inFlightSectors, sent);
  controller.restart();
  t.equal(controller.inFlightSectors, 0);
  t.equal(controller.turn(0, 0), 6, 'begins anew');
});

t.test('eight marks, three seconds apart, none while paused or standing still', async (t) => {
  const marks = new ProgressMarks();
  marks.start(1000, 500);
  t.notOk(marks.advance(3999, 400));
  t.ok(marks.advance(4000, 400));
  t.notOk(marks.advance(9000, 400), 'no progress');
  t.ok(marks.advance(9000, 300));
  t.equal(marks.last, 2);
  t.equal(marks.recentKiBps(10_000, 280), Math.trunc(120 / 6) * 4);
  marks.pause(10_000);
  t.notOk(marks.advance(20_000, 100));
  marks.resume(25_000);
  t.equal(marks.pausedMs, 15_000);
  t.equal(marks.time[2], 25_000);
  for (let i = 1; i <= 7; i++) t.ok(marks.advance(25_000 + i * 3000, 300 - i));
  t.equal(marks.last, 1, 'a ring');
});
