/** How option values of the engine look in `show`: text, whether they are defaults, and what stands behind them. */
import type { OptionTable, OptionValues } from '@udrbd/control';
import { DEVICE_OPTIONS, DISK_OPTIONS, NET_OPTIONS, PEER_DEVICE_OPTIONS, RESOURCE_OPTIONS } from '@udrbd/control';
import { fieldsOf, findCommand } from './command-catalogue.js';

export interface ListedOption {
  readonly name: string;
  /** Bare, without quotes; numbers carry the suffix of their storage unit. */
  readonly text: string;
  /** Strings are quoted in the text form; only true booleans are booleans in JSON. */
  readonly form: 'string' | 'boolean' | 'bare';
  readonly isDefault: boolean;
  readonly unit: string | undefined;
}

const SUFFIX = { 1: '', 512: 's', 1024: 'k' } as const;

function lister<T extends OptionTable>(table: T, command: string): (values: OptionValues<T>) => ListedOption[] {
  const fields = fieldsOf(findCommand(command)!);
  return (values) =>
    fields.map((field): ListedOption => {
      const value: unknown = values[field.name as keyof T];
      const isDefault = field.name !== '_name' && value === table[field.name]!.default;
      const listed = (form: ListedOption['form'], text: string): ListedOption => ({
        name: field.name,
        text,
        form,
        isDefault,
        unit: field.kind === 'number' ? field.unit : undefined,
      });
      switch (field.kind) {
        case 'boolean':
          return listed('boolean', value === true ? 'yes' : 'no');
        case 'flag':
          return listed('bare', value === true ? 'yes' : 'no');
        case 'number':
          return listed('bare', `${String(value)}${SUFFIX[field.scale]}`);
        case 'string':
        case 'keyring':
          return listed('string', String(value));
        default:
          return listed('bare', String(value));
      }
    });
}

export const listResourceOptions = lister(RESOURCE_OPTIONS, 'new-resource');
export const listDeviceOptions = lister(DEVICE_OPTIONS, 'new-minor');
export const listDiskOptions = lister(DISK_OPTIONS, 'attach');
export const listNetOptions = lister(NET_OPTIONS, 'new-peer');
export const listPeerDeviceOptions = lister(PEER_DEVICE_OPTIONS, 'peer-device-options');
