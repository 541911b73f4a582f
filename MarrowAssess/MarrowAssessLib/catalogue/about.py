"""What this software says of its intended use."""

RESEARCH_USE = (
    "For research use only: not a medical device, not cleared for diagnosis. Every value needs a "
    "physician's reading of the images."
)
