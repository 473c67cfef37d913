/** More axes than any layer has; prevents a hostile header from causing loops over millions of axes. */
export const MAX_RANK = 32;
