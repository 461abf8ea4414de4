"""The methods advection and model: images, points, and several sources of each, in one problem."""
