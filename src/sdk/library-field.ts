import { optionEntries } from "../generation/option-table.js";

/** Fields of requests by the service's name, and what the client calls them. */
const libraryNames = new Map<string, string>([
  ...optionEntries.map(([name, { wire }]) => [wire, name] as const),
  ["rank_by", "normalisation"],
]);

/** A field of a problem as the client calls it; an index after the name stays. */
export function libraryField(field: string): string {
  const [name = field] = /^\w+/.exec(field) ?? [];
  return (libraryNames.get(name) ?? name) + field.slice(name.length);
}
