"""The CQL front end: text to syntax (`parser`), every mistake of a library in one go."""
