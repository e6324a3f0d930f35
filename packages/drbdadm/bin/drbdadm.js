#!/usr/bin/env node
import '../../../bundle/drbdadm.js';
