#!/usr/bin/env node
import '../../../bundle/udrbd-engine.js';
