"""What a person looks at: pictures of frames, summaries of runs, the HTML report."""
