"""Quality control: values that are not observations."""
