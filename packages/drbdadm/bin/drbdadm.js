#!/usr/bin/env node
'use strict';
const { existsSync } = require('node:fs');
const { join } = require('node:path');

// CommonJS with a code cache starts faster than ES modules; see fast-bundle.mjs.
const start = join(__dirname, '../../../bundle/start.cjs');
if (existsSync(start)) require(start)('drbdadm').main();
else import('../../../bundle/drbdadm.js');
