"""Categories of the simulated catalogue and the words of their titles."""

__all__ = ["COMMON", "DEVICES", "VOCABULARY"]

VOCABULARY: dict[str, tuple[str, ...]] = {
    "cooking": ("pasta", "oven", "recipe", "sauce", "grill", "spice", "kitchen", "bread"),
    "football": ("goal", "penalty", "league", "striker", "keeper", "derby", "transfer", "final"),
    "gaming": ("speedrun", "boss", "arcade", "quest", "loot", "pixel", "console", "raid"),
    "music": ("guitar", "chorus", "vinyl", "concert", "drums", "melody", "remix", "bass"),
    "travel": ("island", "train", "hostel", "passport", "mountain", "harbour", "backpack", "sunset"),
    "science": ("atom", "telescope", "gene", "quantum", "fossil", "reactor", "comet", "neuron"),
    "comedy": ("sketch", "prank", "standup", "parody", "joke", "blooper", "impression", "roast"),
    "fashion": ("runway", "denim", "jacket", "sneaker", "fabric", "vintage", "tailor", "makeup"),
    "fitness": ("squat", "marathon", "yoga", "stretch", "kettlebell", "sprint", "plank", "coach"),
    "cars": ("engine", "turbo", "rally", "garage", "gearbox", "drift", "electric", "roadster"),
    "animals": ("puppy", "kitten", "parrot", "otter", "horse", "panda", "rescue", "safari"),
    "diy": ("drill", "plywood", "paint", "workshop", "solder", "hinge", "shelf", "lathe"),
    "news": ("election", "budget", "summit", "storm", "court", "strike", "report", "border"),
    "film": ("trailer", "director", "scene", "sequel", "western", "noir", "stunt", "premiere"),
    "history": ("empire", "castle", "viking", "treaty", "pharaoh", "legion", "archive", "siege"),
    "finance": ("stocks", "bond", "mortgage", "savings", "inflation", "startup", "pension", "tax"),
    "gardening": ("tomato", "compost", "orchid", "pruning", "seedling", "hedge", "rose", "greenhouse"),
    "art": ("canvas", "sketchbook", "sculpture", "gallery", "mural", "ink", "portrait", "glaze"),
    "technology": ("robot", "laptop", "chip", "drone", "camera", "battery", "compiler", "sensor"),
    "family": ("toddler", "bedtime", "school", "picnic", "puzzle", "grandma", "crafts", "lunchbox"),
}
COMMON = ("best", "first", "how", "secret", "why", "ultimate", "simple", "last", "wild", "quiet")
DEVICES = ("phone", "tablet", "tv", "web")
