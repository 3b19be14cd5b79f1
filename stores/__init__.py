"""What a store is: its model, its plan, its names, its versions and its audit trail."""
