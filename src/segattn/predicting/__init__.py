"""From images to labels: what is taken as an image, how it is labelled, and the forms that labels leave in."""
