"""How stores are made: jobs, their steps, and what drives Helm and Kubernetes."""
