"""How any model learns: players, the base model, schedules, one step file per backend."""
