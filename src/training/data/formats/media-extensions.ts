import type { Modality } from "../../../core/modality.js";
import { imageExtensions } from "../../../media/detect/image-format.js";

/** The usual extensions of media, by which files are found; their types are then detected from their first bytes. */
export const mediaExtensions: Readonly<Record<Modality, readonly string[]>> = {
  image: imageExtensions,
  audio: [".wav", ".mp3", ".flac", ".ogg", ".oga", ".opus", ".m4a", ".aac", ".aiff", ".aif", ".au", ".caf", ".amr"],
  video: [".mp4", ".m4v", ".webm", ".mov", ".mkv", ".avi", ".mpg", ".mpeg", ".ogv", ".wmv", ".flv", ".3gp"],
};

/** Files that an encoder of a modality can take: audio is also read from the audio track of a video. */
export const acceptedExtensions: Readonly<Record<Modality, readonly string[]>> = {
  ...mediaExtensions,
  audio: [...mediaExtensions.audio, ...mediaExtensions.video],
};
