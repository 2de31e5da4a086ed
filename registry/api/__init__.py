"""The doors for programs: each reads a request, makes one call below, and renders what comes back."""
