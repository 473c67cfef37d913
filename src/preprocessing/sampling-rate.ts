/**
 * Sampling rate in Hz; all published audio encoders were trained at this rate. It has a file of its own so that the
 * threads that decode media start without the schemas of the settings.
 */
export const SAMPLING_RATE = 16_000;
