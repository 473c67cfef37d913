import { optionEntries } from "../generation/option-table.js";

/** Maps the names of request fields in the service to their names in the client. */
const libraryNames = new Map<string, string>([
  ...optionEntries.map(([name, { wire }]) => [wire, name] as const),
  ["rank_by", "normalisation"],
]);

/** The name that the client uses for a field of a problem; an index after the name is kept. */
export function libraryField(field: string): string {
  const [name = field] = /^\w+/.exec(field) ?? [];
  return (libraryNames.get(name) ?? name) + field.slice(name.length);
}
