/** The texts that `epalm measure` scores by default: sentences like those that models generate. */
export const measureTexts: readonly string[] = [
  "a brown dog is running across a field of short grass",
  "two people are sitting at a wooden table with cups of coffee",
  "an old red bus is parked in front of a brick building",
  "a bowl of soup, a spoon and a slice of bread on a white cloth",
  "What is the man on the left holding? He is holding an umbrella.",
  "How many boats are on the lake? There are three boats.",
  "The valve is closed, and the needle of the gauge points to zero.",
  "After the rain the street was empty, and the lamps were mirrored in the puddles.",
];
