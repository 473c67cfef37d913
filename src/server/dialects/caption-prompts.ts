/**
 * The default table of prompts that request a description. Each line is a pattern for one sentence of a prompt in lower
 * case, without politeness, persona, format instructions and punctuation (`promptTask`). `(a|b)` are alternatives,
 * `[a]` is optional, `*` stands for any words or, at the end of a word, for any letters, and `{name}` for a set.
 */

/** Sets of words that patterns refer to by name. */
export const wordSets: Readonly<Record<string, string>> = {
  picture:
    "image|images|picture|pictures|photo|photos|photograph|photographs|pic|pics|snapshot|snapshots|screenshot|" +
    "frame|frames|video|videos|clip|footage|film|movie|scene|audio|recording|sound|sounds|track|file|media|gif|" +
    "shot|view|drawing|illustration|painting|artwork|sequence|animation|song|music|content|contents",
  this: "the|this|that|these|those|my|our|your|a|an|its",
  text:
    "caption|captions|description|descriptions|alt text|alternative text|alt tag|alt attribute|alt|summary|title|" +
    "overview|gist|explanation|account|interpretation|narrative|rundown|analysis|depiction|breakdown|portrayal|review|narration|headline|synopsis|commentary|blurb|sketch|report of|report on|image text",
  write:
    "write|generate|create|give|provide|produce|make|compose|draft|suggest|craft|return|output|respond|reply|answer|" +
    "get|formulate|offer|propose|supply|prepare|add|come up with|need|want|have|show|tell|do|print|submit|deliver|form|share|present|relay|render|read out",
  shown: "shown|depicted|visible|displayed|pictured|seen|heard|happening|occurring|going on|taking place|portrayed",
  shows:
    "show|shows|depict|depicts|contain|contains|portray|portrays|capture|captures|display|displays|represent|represents",
  see: "see|hear|observe|notice|perceive|make out",
};

export const defaultCaptionPrompts: readonly string[] = [
  // Imperatives.
  "(describe|describing|description|depict|narrate|caption|captioning|characterise|characterize|portray) *",
  "(summarise|summarize|summarising|summarizing|recap|outline|interpret|analyse|analyze|annotate) *",
  "(clarify|illustrate|elaborate|explain|sketch|paraphrase|review|break down) *",
  "(walk|guide|talk|take) [me|us] through *",
  "(share|present|give|relay|provide|tell) * details *",
  "use * to (describe|illustrate|depict|explain|summarise|summarize|caption|narrate|portray) *",
  "(talk|speak) about *",
  "about ({this}|what|everything) *",
  "[a] (something|bit|little) about *",
  "more about *",
  "everything about *",
  "(list|enumerate|mention|name|identify|note|report) (everything|all) *",
  "(list|enumerate|mention|name|identify|note|report) [{this}] [main|visible|key|important|different|various] (objects|things|contents|elements|items|details) *",
  "everything you {see} *",
  "(understand|visualise|visualize) {this} {picture} *",
  "put {this} [{picture}] [into|in] words",
  "(write|say|tell) [me] (something|a few words) about *",
  // Texts that describe.
  "{write} * ({text})",
  "{write} * ({text}) *",
  "{write} * (sentence|sentences|paragraph|paragraphs|text|phrase|story|words|lines) (describing|that describes|that describe|about|of|for|on) *",
  "[{this}|one] [short|brief|concise|detailed|accurate|good|suitable|simple|long|new|one-sentence|single-sentence|one sentence] [accessible|plain|detailed|accurate|factual] [{picture}|product] ({text}) *",
  "* (caption|alt text|alternative text|description|title) for {this} {picture}",
  "[a|an|the|this] {picture} (of|that shows|showing|shows|depicts|depicting)",
  // Open questions, in direct and indirect word order.
  "what is (in|on|inside|within) [{this}|here|it] [{picture}]",
  "what is (in|on|inside|within) {this} [camera|attached|first|security] {picture} *",
  "what (do|can|did|could) (you|we|i|one) {see} [here]",
  "what (do|can|did|could) (you|we|i|one) {see} [in|on|from] [{this}] {picture}",
  "what (you|we|i) [can] {see} [here]",
  "what (you|we|i) [can] {see} [in|on|from] [{this}] {picture}",
  "what can be {shown} [here]",
  "what can be {shown} [in|on] {this} {picture}",
  "what (does|do|did) [{this}|it] [{picture}] {shows}",
  "what {this} {picture} {shows}",
  "what (is|are|was) [being] {shown} [here]",
  "what (is|are|was) [being] {shown} [in|on] {this} [camera|attached|security] {picture}",
  "what (happens|happened) [here]",
  "what (happens|happened) in {this} {picture}",
  "what is there [to {see}] [here]",
  "what is there [to {see}] (in|on) {this} {picture}",
  "what (is|are) {this} {picture} (about|of|showing|depicting)",
  "what {this} {picture} (is|are) (about|of|showing|depicting)",
  "what (is|are) {this} (content|contents|subject) of {this} {picture}",
  "what (are|am) (you|we|i) (seeing|hearing|looking at|listening to)",
  "what (can|could|do) (you|we) (tell|say|know) [me|us] about *",
  "what is this [{this}] {picture} of",
  "how (would|could|can|should|do) (you|one|we|i) (describe|caption|summarise|summarize|title) *",
];
