#!/usr/bin/env node
import '../../../bundle/drbdmeta.js';
