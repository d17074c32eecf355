//! A message that is one JSON object enters, its fields leave as raw text.
