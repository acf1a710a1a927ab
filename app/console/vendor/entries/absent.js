// Stands in for the validator that generates code; the console has its own, which does not.
export default null;
