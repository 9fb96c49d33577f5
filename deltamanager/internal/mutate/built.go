package mutate

// Built tells whether the bugs are built in: see package plant.
const Built = false
