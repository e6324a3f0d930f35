/**
 * The grammar of drbd.conf (and of `drbdsetup show`, which is nearly the same) on chevrotain. The rules only build the tree of
 * `ast.ts`; the text after ERR_MSG is what stock says it expected there.
 */
import { EmbeddedActionsParser, EOF, type IToken } from 'chevrotain';
import type { Node, NodeType, ParsedFile, SyntaxProblem, Word } from './ast.js';
import { LazyLookahead } from './lazy-lookahead.js';
import { scan } from './lexer.js';
import { expectedIn } from './option-sections.js';
import { BARE, describe, EXPECTED } from './syntax-problem.js';
import {
  ALL_TOKENS,
  Colon,
  GlobalFlag,
  GlobalNumber,
  Integer,
  IpFamily,
  IpV4Address,
  IpV6Address,
  keyword,
  LBrace,
  LBracket,
  MetaDisk,
  ModuleVersion,
  OptionName,
  OptionValue,
  PluginName,
  PluginWord,
  ProxySide,
  RBrace,
  RBracket,
  RequireVersion,
  Section,
  Semicolon,
  SkipBlock,
  Swallowed,
  Text,
  UsageCountValue,
} from './tokens.js';

const kw = keyword;

const word = (token: IToken): Word => ({
  text: token.image,
  line: token.startLine ?? 0,
  column: token.startColumn ?? 0,
  number: token.payload ?? 0,
});

const node = (type: NodeType, at: Word): Node => ({ type, at, words: [], body: [] });
const NOWHERE: Word = { text: '', line: 0, column: 0, number: 0 };

class DrbdParser extends EmbeddedActionsParser {
  #open: Node[] = [];

  constructor() {
    super(ALL_TOKENS, {
      maxLookahead: 1,
      recoveryEnabled: false,
      skipValidations: true,
      nodeLocationTracking: 'none',
      lookaheadStrategy: new LazyLookahead({ maxLookahead: 1 }),
      errorMessageProvider: {
        buildMismatchTokenMessage: ({ expected }) => expected.name,
        buildNoViableAltMessage: ({ customUserDescription }) => customUserDescription ?? '',
        buildNotAllInputParsedMessage: () => EXPECTED.top,
        buildEarlyExitMessage: ({ customUserDescription }) => customUserDescription ?? '',
      },
    });
    this.performSelfAnalysis();
  }

  /** Starts over; the returned node grows as the rules run and holds everything read when one of them fails. */
  begin(tokens: IToken[]): Node {
    const root = node('file', NOWHERE);
    this.#open = [root];
    this.input = tokens;
    return root;
  }

  #start(type: NodeType, token: IToken): Node {
    const child = node(type, word(token));
    this.#open.at(-1)?.body.push(child);
    this.#open.push(child);
    return child;
  }

  #end(token: IToken): void {
    const closed = this.#open.pop();
    if (closed !== undefined) closed.endLine = token.startLine ?? closed.at.line;
  }

  /** Takes back what was just started; it turned out to be something else. */
  #drop(): void {
    this.#open.pop();
    this.#open.at(-1)?.body.pop();
  }

  /** The `{` of the section that has just been started. */
  #brace(into: Node): void {
    into.openLine = this.CONSUME(LBrace).startLine ?? 0;
  }

  /** Line of the `{` of the innermost section of this type that is still open. */
  openLineOf(type: NodeType): number | undefined {
    return this.#open.filter((open) => open.type === type).at(-1)?.openLine;
  }

  readonly file = this.RULE('file', () => {
    this.MANY(() => this.SUBRULE(this.topStatement));
    this.CONSUME(EOF, { ERR_MSG: EXPECTED.top });
  });

  /** Reads as many resources as there are and leaves the rest alone. */
  readonly showFile = this.RULE('showFile', () => {
    this.MANY(() => this.SUBRULE(this.resource));
  });

  readonly proxySettings = this.RULE('proxySettings', () => {
    this.SUBRULE(this.proxyOptions);
  });

  readonly templateFile = this.RULE('templateFile', () => {
    this.SUBRULE(this.common);
  });

  readonly topStatement = this.RULE('topStatement', () => {
    this.OR([
      { ALT: () => this.SUBRULE(this.global) },
      { ALT: () => this.SUBRULE(this.common) },
      { ALT: () => this.SUBRULE(this.resource) },
      { ALT: () => this.SUBRULE(this.skip) },
      { ALT: () => this.SUBRULE(this.include) },
      { ALT: () => this.SUBRULE(this.requireVersion) },
    ]);
  });

  readonly global = this.RULE('global', () => {
    const self = this.#start('global', this.CONSUME(kw('global')));
    this.#brace(self);
    this.MANY(() => this.SUBRULE(this.globalSetting));
    this.#end(this.CONSUME(RBrace, { ERR_MSG: EXPECTED.global }));
  });

  readonly globalSetting = this.RULE('globalSetting', () => {
    this.OR([
      {
        ALT: () => {
          const self = this.#start('global-setting', this.CONSUME(GlobalNumber));
          self.words.push(word(this.CONSUME(Integer)));
        },
      },
      { ALT: () => this.#start('global-setting', this.CONSUME(GlobalFlag)) },
      {
        ALT: () => {
          const self = this.#start('global-setting', this.CONSUME(kw('usage-count')));
          self.words.push(word(this.CONSUME(UsageCountValue, { ERR_MSG: EXPECTED.usageCount })));
        },
      },
    ]);
    this.#end(this.CONSUME(Semicolon));
  });

  readonly include = this.RULE('include', () => {
    const self = this.#start('include', this.CONSUME(kw('include')));
    self.words.push(word(this.CONSUME(Text)));
    this.#end(this.CONSUME(Semicolon));
  });

  readonly requireVersion = this.RULE('requireVersion', () => {
    const self = this.#start('require-version', this.CONSUME(RequireVersion));
    self.words.push(word(this.CONSUME(ModuleVersion)));
    this.#end(this.CONSUME(Semicolon));
  });

  /** The scanner makes one token of a complete block, so the bare keyword means that the block never ends. */
  readonly skip = this.RULE('skip', () => {
    this.OR([
      { ALT: () => this.CONSUME(SkipBlock) },
      {
        ALT: () => {
          this.#start('skip', this.CONSUME(kw('skip')));
          this.CONSUME(EOF, { ERR_MSG: EXPECTED.skip });
          this.CONSUME(LBrace, { ERR_MSG: EXPECTED.skip });
        },
      },
    ]);
  });

  readonly common = this.RULE('common', () => {
    this.SUBRULE(this.resourceBody, { ARGS: [this.#start('common', this.CONSUME(kw('common')))] });
  });

  readonly resource = this.RULE('resource', () => {
    const self = this.#start('resource', this.CONSUME(kw('resource')));
    self.words.push(word(this.CONSUME(Text)));
    this.SUBRULE(this.resourceBody, { ARGS: [self] });
  });

  /** Ends at its `}` or, silently, at the end of the file. */
  readonly resourceBody = this.RULE('resourceBody', (self: Node = node('resource', NOWHERE)) => {
    this.#brace(self);
    this.MANY(() => this.SUBRULE(this.resourceStatement));
    this.OR({
      DEF: [{ ALT: () => this.#end(this.CONSUME(RBrace)) }, { ALT: () => this.#end(this.CONSUME(EOF)) }],
      ERR_MSG: EXPECTED.resource,
    });
  });

  readonly resourceStatement = this.RULE('resourceStatement', () => {
    this.OR({
      DEF: [
        { ALT: () => this.SUBRULE(this.protocol) },
        { ALT: () => this.SUBRULE(this.on) },
        { ALT: () => this.SUBRULE(this.floating) },
        { ALT: () => this.SUBRULE(this.stacked) },
        { ALT: () => this.SUBRULE(this.thisHost) },
        { ALT: () => this.SUBRULE(this.disk) },
        { ALT: () => this.SUBRULE(this.device) },
        { ALT: () => this.SUBRULE(this.metaDisk) },
        { ALT: () => this.SUBRULE(this.volume) },
        { ALT: () => this.SUBRULE(this.connection) },
        { ALT: () => this.SUBRULE(this.connectionMesh) },
        { ALT: () => this.SUBRULE(this.section) },
        { ALT: () => this.SUBRULE(this.proxyOptions) },
        { ALT: () => this.SUBRULE(this.templateStatement) },
        { ALT: () => this.SUBRULE(this.skip) },
      ],
      ERR_MSG: EXPECTED.resource,
    });
  });

  readonly protocol = this.RULE('protocol', () => {
    const self = this.#start('protocol', this.CONSUME(OptionName));
    this.SUBRULE(this.optionValue, { ARGS: [self] });
  });

  readonly templateStatement = this.RULE('templateStatement', () => {
    const self = this.#start('template-file', this.CONSUME(kw('template-file')));
    self.words.push(word(this.CONSUME(Text)));
    this.#end(this.CONSUME(Semicolon));
  });

  /** One or more names, then the `{`. */
  readonly namesAndBrace = this.RULE('namesAndBrace', (self: Node = node('on', NOWHERE)) => {
    const first = this.LA(1).tokenType === LBrace ? 'TK_STRING' : EXPECTED.names;
    self.words.push(word(this.CONSUME1(Text, { ERR_MSG: first })));
    this.MANY(() => self.words.push(word(this.CONSUME2(Text))));
    self.openLine = this.CONSUME(LBrace, { ERR_MSG: EXPECTED.names }).startLine ?? 0;
  });

  readonly on = this.RULE('on', () => {
    const self = this.#start('on', this.CONSUME(kw('on')));
    this.SUBRULE(this.namesAndBrace, { ARGS: [self] });
    this.SUBRULE(this.hostBody);
  });

  readonly floating = this.RULE('floating', () => {
    const self = this.#start('floating', this.CONSUME(kw('floating')));
    this.SUBRULE(this.addressSpec, { ARGS: [self] });
    this.OR({
      DEF: [
        {
          ALT: () => {
            this.#brace(self);
            this.SUBRULE(this.hostBody);
          },
        },
        { ALT: () => this.#end(this.CONSUME(Semicolon)) },
      ],
      ERR_MSG: EXPECTED.floating,
    });
  });

  readonly thisHost = this.RULE('thisHost', () => {
    const self = this.#start('this-host', this.CONSUME(kw('_this_host')));
    this.#brace(self);
    this.SUBRULE(this.hostBody);
  });

  readonly hostBody = this.RULE('hostBody', () => {
    this.MANY(() =>
      this.OR([
        { ALT: () => this.SUBRULE(this.address) },
        { ALT: () => this.SUBRULE(this.nodeId) },
        { ALT: () => this.SUBRULE(this.disk) },
        { ALT: () => this.SUBRULE(this.device) },
        { ALT: () => this.SUBRULE(this.metaDisk) },
        { ALT: () => this.SUBRULE(this.volume) },
        { ALT: () => this.SUBRULE(this.options) },
        { ALT: () => this.SUBRULE(this.proxy) },
        { ALT: () => this.SUBRULE(this.skip) },
      ]),
    );
    this.#end(this.CONSUME(RBrace, { ERR_MSG: EXPECTED.host }));
  });

  readonly stacked = this.RULE('stacked', () => {
    const self = this.#start('stacked', this.CONSUME(kw('stacked-on-top-of')));
    self.words.push(word(this.CONSUME(Text)));
    this.#brace(self);
    this.MANY(() =>
      this.OR([
        { ALT: () => this.SUBRULE(this.device) },
        { ALT: () => this.SUBRULE(this.address) },
        { ALT: () => this.SUBRULE(this.proxy) },
        { ALT: () => this.SUBRULE(this.nodeId) },
        { ALT: () => this.SUBRULE(this.stackedVolume) },
      ]),
    );
    this.#end(this.CONSUME(RBrace, { ERR_MSG: EXPECTED.stacked }));
  });

  readonly stackedVolume = this.RULE('stackedVolume', () => {
    const self = this.#start('volume', this.CONSUME(kw('volume')));
    self.words.push(word(this.CONSUME(Integer)));
    this.#brace(self);
    this.MANY(() => this.OR([{ ALT: () => this.SUBRULE(this.device) }, { ALT: () => this.SUBRULE(this.diskOptions) }]));
    this.#end(this.CONSUME(RBrace, { ERR_MSG: EXPECTED.stackedVolume }));
  });

  readonly volume = this.RULE('volume', () => {
    const self = this.#start('volume', this.CONSUME(kw('volume')));
    self.words.push(word(this.CONSUME(Integer)));
    this.#brace(self);
    this.MANY(() =>
      this.OR([
        { ALT: () => this.SUBRULE(this.device) },
        { ALT: () => this.SUBRULE(this.disk) },
        { ALT: () => this.SUBRULE(this.metaDisk) },
        { ALT: () => this.SUBRULE(this.tiebreaker) },
        { ALT: () => this.SUBRULE(this.skip) },
      ]),
    );
    this.#end(this.CONSUME(RBrace, { ERR_MSG: EXPECTED.volume }));
  });

  readonly tiebreaker = this.RULE('tiebreaker', () => {
    const self = this.#start('tiebreaker', this.CONSUME(kw('tiebreaker')));
    this.OR({
      DEF: [{ ALT: () => self.words.push(word(this.CONSUME(kw('yes')))) }, { ALT: () => self.words.push(word(this.CONSUME(kw('no')))) }],
      ERR_MSG: 'yes | no',
    });
    this.#end(this.CONSUME(Semicolon));
  });

  /** `minor N;`, `NAME [minor N];`, or any one token, even the end of the file, which stock swallows without a word. */
  readonly device = this.RULE('device', () => {
    const at = this.CONSUME(kw('device'));
    const self = this.#start('device', at);
    this.OPTION(() => this.SUBRULE(this.deviceName, { ARGS: [self] }));
    if (self.endLine === undefined) this.#end(at);
  });

  readonly deviceName = this.RULE('deviceName', (self: Node = node('device', NOWHERE)) => {
    this.OR1({
      DEF: [
        {
          ALT: () => {
            self.words.push(word(this.CONSUME1(Text)));
            this.OR2({
              DEF: [
                {
                  ALT: () => {
                    this.CONSUME1(kw('minor'));
                    self.minor = word(this.CONSUME1(Integer));
                    this.#end(this.CONSUME1(Semicolon));
                  },
                },
                { ALT: () => this.#end(this.CONSUME2(Semicolon)) },
              ],
              ERR_MSG: EXPECTED.device,
            });
          },
        },
        {
          ALT: () => {
            this.CONSUME2(kw('minor'));
            self.minor = word(this.CONSUME2(Integer));
            this.#end(this.CONSUME3(Semicolon));
          },
        },
        { ALT: () => this.#end(this.CONSUME(Swallowed)) },
      ],
      ERR_MSG: EXPECTED.device,
    });
  });

  /** The backing device, or a section of options. */
  readonly disk = this.RULE('disk', () => {
    const at = this.CONSUME(kw('disk'));
    const self = this.#start('disk', at);
    this.OR({
      DEF: [
        {
          ALT: () => {
            self.words.push(word(this.CONSUME(Text)));
            this.#end(this.CONSUME(Semicolon));
          },
        },
        {
          ALT: () => {
            this.#drop();
            this.SUBRULE(this.optionSection, { ARGS: ['disk-options', at] });
          },
        },
      ],
      ERR_MSG: EXPECTED.disk,
    });
  });

  readonly diskOptions = this.RULE('diskOptions', () => {
    const at = this.CONSUME(kw('disk'));
    this.SUBRULE(this.optionSection, { ARGS: ['disk-options', at] });
  });

  /** An index only goes with an external device, and not with `flexible-meta-disk`. */
  readonly metaDisk = this.RULE('metaDisk', () => {
    const at = this.CONSUME(MetaDisk);
    const self = this.#start('meta-disk', at);
    const device = this.CONSUME(Text);
    self.words.push(word(device));
    const takesIndex = at.image === 'meta-disk' && device.image !== 'internal';
    this.OPTION({
      GATE: () => takesIndex,
      DEF: () => {
        this.CONSUME(LBracket);
        self.index = word(this.CONSUME(Integer));
        this.CONSUME(RBracket);
      },
    });
    this.#end(this.CONSUME(Semicolon, { ERR_MSG: takesIndex && self.index === undefined ? EXPECTED.metaDisk : ';' }));
  });

  readonly nodeId = this.RULE('nodeId', () => {
    const self = this.#start('node-id', this.CONSUME(kw('node-id')));
    self.words.push(word(this.CONSUME(Integer)));
    this.#end(this.CONSUME(Semicolon));
  });

  readonly address = this.RULE('address', () => {
    const self = this.#start('address', this.CONSUME(kw('address')));
    this.SUBRULE(this.addressSpec, { ARGS: [self] });
    this.#end(this.CONSUME(Semicolon));
  });

  readonly addressSpec = this.RULE('addressSpec', (self: Node = node('address', NOWHERE)) => {
    const spec: { family?: Word; address?: Word; port?: Word } = {};
    self.address = spec;
    this.OR({
      DEF: [
        {
          ALT: () => {
            spec.address = word(this.CONSUME1(IpV4Address));
          },
        },
        {
          ALT: () => {
            spec.family = word(this.CONSUME(IpFamily));
            spec.address = word(this.CONSUME2(IpV4Address));
          },
        },
        {
          ALT: () => {
            spec.family = word(this.CONSUME(kw('ipv6')));
            this.CONSUME(LBracket);
            spec.address = word(this.CONSUME(IpV6Address));
            this.CONSUME(RBracket);
          },
        },
      ],
      ERR_MSG: EXPECTED.address,
    });
    this.CONSUME(Colon);
    spec.port = word(this.CONSUME(Integer));
  });

  readonly connection = this.RULE('connection', () => {
    const self = this.#start('connection', this.CONSUME(kw('connection')));
    this.OPTION(() => self.words.push(word(this.CONSUME(Text))));
    this.#brace(self);
    this.MANY(() =>
      this.OR({
        DEF: [
          { ALT: () => this.SUBRULE(this.hostEndpoint) },
          { ALT: () => this.SUBRULE(this.addressEndpoint) },
          { ALT: () => this.SUBRULE(this.path) },
          { ALT: () => this.SUBRULE(this.net) },
          { ALT: () => this.SUBRULE(this.diskOptions) },
          { ALT: () => this.SUBRULE(this.connectionVolume) },
          { ALT: () => this.SUBRULE(this.skip) },
          { ALT: () => this.SUBRULE(this.peerNodeId) },
          { ALT: () => this.SUBRULE(this.connectionState) },
        ],
        ERR_MSG: EXPECTED.connection,
      }),
    );
    this.#end(this.CONSUME(RBrace, { ERR_MSG: EXPECTED.connection }));
  });

  readonly peerNodeId = this.RULE('peerNodeId', () => {
    const self = this.#start('peer-node-id', this.CONSUME(kw('_peer_node_id')));
    self.words.push(word(this.CONSUME(Integer)));
    this.#end(this.CONSUME(Semicolon));
  });

  readonly connectionState = this.RULE('connectionState', () => {
    const self = this.#start('cstate', this.CONSUME(kw('_cstate')));
    self.words.push(word(this.CONSUME(Text)));
    this.#end(this.CONSUME(Semicolon));
  });

  readonly connectionVolume = this.RULE('connectionVolume', () => {
    const self = this.#start('volume', this.CONSUME(kw('volume')));
    self.words.push(word(this.CONSUME(Integer)));
    this.#brace(self);
    this.SUBRULE(this.diskOptions);
    this.#end(this.CONSUME(RBrace));
  });

  readonly path = this.RULE('path', () => {
    const self = this.#start('path', this.CONSUME(kw('path')));
    this.#brace(self);
    this.MANY(() =>
      this.OR({
        DEF: [
          { ALT: () => this.SUBRULE(this.hostEndpoint) },
          { ALT: () => this.SUBRULE(this.addressEndpoint) },
          { ALT: () => this.SUBRULE(this.shownEndpoint) },
        ],
        ERR_MSG: EXPECTED.path,
      }),
    );
    this.#end(this.CONSUME(RBrace, { ERR_MSG: EXPECTED.path }));
  });

  readonly shownEndpoint = this.RULE('shownEndpoint', () => {
    const at = this.OR([{ ALT: () => this.CONSUME(kw('_this_host')) }, { ALT: () => this.CONSUME(kw('_remote_host')) }]);
    const self = this.#start('address', at);
    this.SUBRULE(this.addressSpec, { ARGS: [self] });
    this.SUBRULE(this.viaOrEnd);
  });

  readonly hostEndpoint = this.RULE('hostEndpoint', () => {
    const self = this.#start('host', this.CONSUME(kw('host')));
    self.words.push(word(this.CONSUME(Text)));
    this.OR({
      DEF: [
        { ALT: () => this.#end(this.CONSUME(Semicolon)) },
        { ALT: () => this.SUBRULE1(this.via) },
        {
          ALT: () => {
            this.CONSUME(kw('address'));
            this.SUBRULE(this.addressSpec, { ARGS: [self] });
            this.SUBRULE1(this.viaOrEnd);
          },
        },
        {
          ALT: () => {
            this.CONSUME(kw('port'));
            self.port = word(this.CONSUME(Integer));
            this.SUBRULE2(this.viaOrEnd);
          },
        },
      ],
      ERR_MSG: EXPECTED.endpoint,
    });
  });

  readonly addressEndpoint = this.RULE('addressEndpoint', () => {
    const self = this.#start('address', this.CONSUME(kw('address')));
    this.SUBRULE(this.addressSpec, { ARGS: [self] });
    this.SUBRULE(this.viaOrEnd);
  });

  readonly viaOrEnd = this.RULE('viaOrEnd', () => {
    this.OR({
      DEF: [{ ALT: () => this.SUBRULE(this.via) }, { ALT: () => this.#end(this.CONSUME(Semicolon)) }],
      ERR_MSG: EXPECTED.afterEndpoint,
    });
  });

  /** A proxy section, which takes no `;` behind it, or the address behind which a NAT gateway shows this endpoint. */
  readonly via = this.RULE('via', () => {
    const at = this.CONSUME(kw('via'));
    this.OR({
      DEF: [
        {
          ALT: () => {
            this.SUBRULE(this.proxy);
            this.#end(at);
          },
        },
        {
          ALT: () => {
            const self = this.#start('via-outside-address', this.CONSUME(kw('outside-address')));
            this.SUBRULE(this.addressSpec, { ARGS: [self] });
            const semicolon = this.CONSUME(Semicolon);
            this.#end(semicolon);
            this.#end(semicolon);
          },
        },
      ],
      ERR_MSG: EXPECTED.via,
    });
  });

  readonly connectionMesh = this.RULE('connectionMesh', () => {
    const self = this.#start('connection-mesh', this.CONSUME(kw('connection-mesh')));
    this.#brace(self);
    this.MANY(() => this.OR([{ ALT: () => this.SUBRULE(this.hosts) }, { ALT: () => this.SUBRULE(this.net) }]));
    this.#end(this.CONSUME(RBrace, { ERR_MSG: EXPECTED.mesh }));
  });

  readonly hosts = this.RULE('hosts', () => {
    const self = this.#start('hosts', this.CONSUME(kw('hosts')));
    const first = this.LA(1).tokenType === Semicolon ? 'TK_STRING' : EXPECTED.hosts;
    self.words.push(word(this.CONSUME1(Text, { ERR_MSG: first })));
    this.MANY(() => self.words.push(word(this.CONSUME2(Text))));
    this.#end(this.CONSUME(Semicolon, { ERR_MSG: EXPECTED.hosts }));
  });

  readonly proxy = this.RULE('proxy', () => {
    const self = this.#start('proxy', this.CONSUME(kw('proxy')));
    this.CONSUME(kw('on'));
    this.SUBRULE(this.namesAndBrace, { ARGS: [self] });
    this.MANY(() =>
      this.OR([
        { ALT: () => this.SUBRULE(this.proxyAddress) },
        {
          ALT: () => {
            const at = this.CONSUME(kw('options'));
            this.SUBRULE(this.proxySection, { ARGS: [at] });
          },
        },
      ]),
    );
    this.#end(this.CONSUME(RBrace, { ERR_MSG: EXPECTED.proxy }));
  });

  readonly proxyAddress = this.RULE('proxyAddress', () => {
    const at = this.CONSUME(ProxySide);
    const self = this.#start(at.image as NodeType, at);
    this.SUBRULE(this.addressSpec, { ARGS: [self] });
    this.#end(this.CONSUME(Semicolon));
  });

  readonly proxyOptions = this.RULE('proxyOptions', () => {
    const at = this.CONSUME(kw('proxy'));
    this.SUBRULE(this.proxySection, { ARGS: [at] });
  });

  readonly proxySection = this.RULE('proxySection', (at?: IToken) => {
    const self = this.#start('proxy-options', at ?? this.LA(0));
    this.#brace(self);
    this.MANY(() => this.OR([{ ALT: () => this.SUBRULE(this.optionStatement) }, { ALT: () => this.SUBRULE(this.plugin) }]));
    this.#end(this.CONSUME(RBrace, { ERR_MSG: EXPECTED.plugin }));
  });

  /** Any word that is no proxy option starts the list of plugins. */
  readonly plugin = this.RULE('plugin', () => {
    const self = this.#start('plugin', this.CONSUME(PluginName));
    self.openLine = this.CONSUME(LBrace, { ERR_MSG: EXPECTED.plugin }).startLine ?? 0;
    this.MANY1(() => {
      const line = this.#start('plugin-line', this.CONSUME1(PluginWord));
      line.words.push(line.at);
      this.MANY2(() => line.words.push(word(this.CONSUME2(PluginWord))));
      this.#end(this.CONSUME(Semicolon, { ERR_MSG: EXPECTED.pluginEnd }));
    });
    this.#end(this.CONSUME(RBrace));
  });

  /** A section of a resource that holds nothing but options. */
  readonly section = this.RULE('section', () => {
    const at = this.CONSUME(Section);
    this.SUBRULE(this.optionSection, { ARGS: [at.image as NodeType, at] });
  });

  readonly net = this.RULE('net', () => {
    this.SUBRULE(this.optionSection, { ARGS: ['net', this.CONSUME(kw('net'))] });
  });

  readonly options = this.RULE('options', () => {
    this.SUBRULE(this.optionSection, { ARGS: ['options', this.CONSUME(kw('options'))] });
  });

  /** `{ name [value]; ... }`. Names and values are taken by their text, whatever token they are. */
  readonly optionSection = this.RULE('optionSection', (type: NodeType = 'net', at?: IToken) => {
    const self = this.#start(type, at ?? this.LA(0));
    this.#brace(self);
    this.MANY(() => this.SUBRULE(this.optionStatement));
    this.#end(this.CONSUME(RBrace, { ERR_MSG: BARE + expectedIn(type) }));
  });

  readonly optionStatement = this.RULE('optionStatement', () => {
    const self = this.#start('option', this.CONSUME(OptionName));
    this.SUBRULE(this.optionValue, { ARGS: [self] });
  });

  readonly optionValue = this.RULE('optionValue', (self: Node = node('option', NOWHERE)) => {
    this.OPTION(() => self.words.push(word(this.CONSUME(OptionValue))));
    this.#end(this.CONSUME(Semicolon));
  });
}

let parser: DrbdParser | undefined;

/**
 * Parses a text. Never throws on any input; the problem, if there is one, comes with everything that was read before it.
 * @param entry - what the text has to be: a whole file, a template (`common { }`), the output of `drbdsetup show`,
 * or that of drbd-proxy-ctl (`proxy { }`)
 */
export function parse(text: string, entry: 'file' | 'template' | 'show' | 'proxy' = 'file'): ParsedFile {
  parser ??= new DrbdParser();
  const { tokens, endLine } = scan(text);
  const root = parser.begin(tokens);
  if (entry === 'show') parser.showFile();
  else if (entry === 'template') parser.templateFile();
  else if (entry === 'proxy') parser.proxySettings();
  else parser.file();
  const error = parser.errors[0];
  if (error === undefined) return { root };
  const token = error.token;
  const atEnd = token.tokenType === EOF;
  // An endless skip block is told of where it begins: at the last token, the rest being swallowed.
  let beginning = error.message === EXPECTED.skip ? tokens.at(-1)?.startLine : undefined;
  if (error.message === EXPECTED.plugin || error.message === EXPECTED.pluginEnd) beginning = parser.openLineOf('proxy-options');
  const problem: SyntaxProblem = {
    line: beginning ?? (atEnd ? endLine : (token.startLine ?? endLine)),
    column: atEnd ? 0 : (token.startColumn ?? 0),
    message: describe(error.message, token),
    found: atEnd ? '' : token.image,
    expected: error.message.match(/[a-z][a-z-]+/g) ?? [],
  };
  return { root, problem };
}
