/** More axes than any layer has; keeps a hostile header from making us loop over millions. */
export const MAX_RANK = 32;
