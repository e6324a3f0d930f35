/**
 * zod schemas of the option catalogue, derived from its rows. zod costs start-up time, so this module is only loaded by those who
 * import it by name: `const { schemaOf } = await import('@udrbd/config/option-schemas')`.
 */
import { z } from 'zod';
import { checkValue, parseNumber } from './option-values.js';
import { OPTIONS, type Option, type OptionGroup } from './options.js';

/** Schema of one option's text, with the very rules the parser uses. Booleans and numbers come out converted to stored units. */
export function schemaOf(option: Option): z.ZodType<boolean | bigint | string, string> {
  const text = z.string().superRefine((value, context) => {
    const refusal = checkValue(option, value);
    if (refusal !== null) context.addIssue({ code: 'custom', message: `Value is ${refusal}.` });
  });
  switch (option.kind) {
    case 'boolean':
    case 'flag':
      return text.transform((value) => value === 'yes');
    case 'number':
      if (option.unchecked) return text;
      return text.transform((value) => parseNumber(value, option.scale, option.signed) as bigint);
    default:
      return text;
  }
}

/** Schema of a whole option list of one group, as `{ name: text }`; unknown names are refused. */
export function schemaOfGroup(group: OptionGroup): z.ZodType<Record<string, unknown>> {
  const shape = Object.fromEntries(OPTIONS.filter((o) => o.group === group).map((o) => [o.name, schemaOf(o).optional()]));
  return z.strictObject(shape);
}
