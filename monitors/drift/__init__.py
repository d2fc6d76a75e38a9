"""Did what is served move away from what the model was trained on?"""
