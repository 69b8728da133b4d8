"""The Helm chart: what it renders is valid, refuses what is misspelt, and starts the installed command as it says."""
