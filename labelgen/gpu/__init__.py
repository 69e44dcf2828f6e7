"""Methods of `labelgen.labels` on a graphics processor; the only difference to the user is time."""
