"""How frames and scenes are done: plan, lease, execute, commit, index. Ray is in `engine.ray` alone."""
