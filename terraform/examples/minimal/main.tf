# The least that is a cluster: three brokers on EC2 in the default VPC of the account, whose addresses may be clients,
# with the functions that maintain it.

terraform {
  required_version = ">= 1.9"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 6.25, < 7.0"
    }
  }
}

provider "aws" {
  region = var.region
}

variable "region" {
  description = "Region of the cluster."
  type        = string
  default     = "us-east-1"
}

variable "binary" {
  description = "Where the brokers' binary for Linux on arm64 is: s3://bucket/key."
  type        = string
}

data "aws_vpc" "default" {
  default = true
}

data "aws_subnets" "default" {
  filter {
    name   = "vpc-id"
    values = [data.aws_vpc.default.id]
  }
}

module "forebay" {
  source = "../.."

  name         = "forebay"
  vpc_id       = data.aws_vpc.default.id
  subnet_ids   = data.aws_subnets.default.ids
  client_cidrs = [data.aws_vpc.default.cidr_block]
  binary       = var.binary
  package_dir  = "${path.module}/../../../bin/functions"
}

output "bootstrap" {
  description = "What clients are given as bootstrap.servers."
  value       = module.forebay.bootstrap
}

output "api_url" {
  description = "URL of the admin API."
  value       = module.forebay.api_url
}
