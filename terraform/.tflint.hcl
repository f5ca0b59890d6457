# The rules that come with tflint, all of them. Those for AWS are in a plugin of its own, which is not used: the
# stand-in for the provider knows types and names.
config {
  call_module_type = "none"
}

plugin "terraform" {
  enabled = true
  preset  = "all"
}

# The root module is split by purpose, and examples are one file where that is easier to read.
rule "terraform_standard_module_structure" {
  enabled = false
}
