/**
 * The names of wrappers around a whole network, such as `module.` (DataParallel) and `_orig_mod.` (torch.compile), if
 * all tensors have them; otherwise an empty string.
 */
export function wrapperPrefix(names: Iterable<string>): string {
  const all = [...names];
  const [prefix = ""] = /^(?:(?:module|_orig_mod|_fsdp_wrapped_module|ema)\.)+/.exec(all[0] ?? "") ?? [];
  return all.every((name) => name.startsWith(prefix)) ? prefix : "";
}
