"""The maths, the data contract and the engines of sweetspot: no Prefect, no Ray, no clock, no network."""
