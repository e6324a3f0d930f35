#!/usr/bin/env node
import '../../../bundle/drbdsetup.js';
