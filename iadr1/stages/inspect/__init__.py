"""Looking into samples files: `check` finds faults, `stats` counts, `view` shows, `licences` lists what may be used."""
