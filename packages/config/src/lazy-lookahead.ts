/** chevrotain's lookahead, worked out when it is needed. */
import { type EmbeddedActionsParser, type ILookaheadStrategy, LLkLookaheadStrategy } from 'chevrotain';

type AlternationRequest = Parameters<ILookaheadStrategy['buildLookaheadForAlternation']>[0];
type OptionalRequest = Parameters<ILookaheadStrategy['buildLookaheadForOptional']>[0];
type Chooser = ReturnType<ILookaheadStrategy['buildLookaheadForAlternation']>;
type Enterer = ReturnType<ILookaheadStrategy['buildLookaheadForOptional']>;

/** Works out what may come next only where a text gets to: most texts use a small part of the grammar. */
export class LazyLookahead extends LLkLookaheadStrategy {
  override buildLookaheadForAlternation(request: AlternationRequest): Chooser {
    let choose: Chooser | undefined;
    const build = () => super.buildLookaheadForAlternation(request);
    return function (this: EmbeddedActionsParser, alternatives) {
      choose ??= build();
      return choose.call(this, alternatives);
    };
  }

  override buildLookaheadForOptional(request: OptionalRequest): Enterer {
    let enters: Enterer | undefined;
    const build = () => super.buildLookaheadForOptional(request);
    return function (this: EmbeddedActionsParser) {
      enters ??= build();
      return enters.call(this);
    };
  }
}
